//! Promises of locked memory, by its public interface.

mod bytes;
mod process;
