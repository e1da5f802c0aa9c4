//! The words of HTTP that every stage uses: targets and roles, heads, fields, the framing of responses,
//! and the table of errors. Pure.

pub mod answer;
pub mod credentials;
pub mod denial;
pub mod error;
pub mod fields;
pub mod http1;
pub mod pac;
pub mod path;
pub mod response;
pub mod role;
pub mod secret;
pub mod target;
pub mod trace_context;
pub mod url;
