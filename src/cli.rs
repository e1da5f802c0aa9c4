//! The program: its command line, its commands, their texts and exit codes.

mod arguments;
mod commands;

pub use commands::main;
