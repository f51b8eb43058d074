//! `panda.toml`: parsed once, with every mistake named at once.
