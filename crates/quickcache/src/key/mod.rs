//! Key values and the two text schemes.
