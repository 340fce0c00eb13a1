//! The `#[quickcache]` attribute.
