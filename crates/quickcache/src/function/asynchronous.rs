//! The async door of a call and of the companions: the same life as in `call`, with futures for what takes time.
