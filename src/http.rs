//! The words of HTTP that every stage uses: targets, heads, fields, the framing of responses and the
//! table of errors. Pure.

pub mod error;
pub mod fields;
pub mod http1;
pub mod response;
pub mod target;
