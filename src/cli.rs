//! The program: its command line, its commands, their texts and exit codes.

mod arguments;
mod commands;
mod probes;

pub use commands::main;
