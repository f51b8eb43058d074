//! The stories: what a whole installation does and survives. docs/testing.md says what they run on.

mod house;
mod path;
