//! The words of HTTP that every stage uses: targets, heads, fields and the table of errors. Pure.

pub mod error;
pub mod fields;
pub mod http1;
pub mod target;
