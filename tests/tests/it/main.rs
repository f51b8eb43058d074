//! The stories: what a whole installation does and survives. docs/testing.md says what they run on.

mod bad_versions;
mod builder_disk;
mod certificates;
mod cluster_faults;
mod cluster_keys;
mod cluster_nodes;
mod command_line;
mod directories;
mod engine;
mod faults;
mod garbage;
mod hostile;
mod hostile_sources;
mod house;
mod kills;
mod moving;
mod operating;
mod path;
mod rolling;
mod suite;
