//! The program: its command line, its commands, their texts and exit codes.

mod arguments;
mod commands;
mod log;
mod probes;
mod quota;
mod service;
mod top;

pub use commands::main;
