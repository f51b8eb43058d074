//! The state of one installation, in SQLite or PostgreSQL, behind typed functions.
//!
//! Owns every SQL text, the encryption of secrets at rest, the folder of blobs and the backup file.
//! Knows no HTTP, no runtime and no policy: what may happen is decided by those who call.
//!
//! [`Store::begin`] gives a [`Tx`] to write in, [`Store::read`] one for cheap reads; all functions on
//! rows are methods of [`Tx`], one file a noun. The same SQL text runs on both databases.

mod apps;
mod backup;
mod blob_dir;
mod blobs;
mod builds;
mod catalogue;
mod certificates;
mod claim;
mod copy;
mod deployments;
mod device_codes;
mod domains;
mod env;
mod error;
mod events;
mod going_back;
mod hand_over;
mod installation;
mod jobs;
mod kept;
mod keyring;
mod kms;
mod leases;
mod marks;
mod page;
mod placed;
mod placements;
mod ports;
mod postgres;
mod progress;
mod projects;
mod rates;
mod releases;
mod rollouts;
mod schema;
mod sealing;
mod sessions;
mod settings;
mod sql;
mod sqlite;
mod store;
mod tasks;
mod teams;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod tx;
mod users;

pub use backup::{BackupFolder, BackupSummary, RestoreOptions, inspect_backup, restore};
pub use blob_dir::{BlobDir, BlobError, SHARDS, Shard, Writing};
pub use blobs::{BlobRow, TreeRow};
pub use builds::{BuildRow, NewBuild};
pub use certificates::{CertificateRow, Challenge};
pub use claim::Claim;
pub use copy::{CopyError, CopyStep, CopySummary, copy_store};
pub use deployments::{DeploymentRow, NewDeployment};
pub use device_codes::{DeviceRow, DeviceState, NewDeviceCode};
pub use domains::{DomainRow, NewDomain};
pub use env::{EnvHistoryRow, EnvRow};
pub use error::{Result, StoreError};
pub use events::{EventRow, NewEvent};
pub use going_back::GoingBack;
pub use jobs::{JobEnd, JobQueueDepth, JobRow};
pub use kept::{DoomedImage, KeptRelease};
pub use keyring::{KeySource, Keyring};
pub use page::Cursor;
pub use placed::{GoodRelease, PlacedRow};
pub use placements::PlacementRow;
pub use ports::{PortRefusal, PortRow};
pub use progress::ProgressRow;
pub use projects::{Environment, Project};
pub use rates::RateVerdict;
pub use releases::{NewRelease, ReleaseRow};
pub use rollouts::{RoutedRow, ServingRow};
pub use sessions::{NewSession, SessionRow};
pub use store::{Backend, Store, StoreConfig};
pub use tasks::{NewTask, TaskRow, TaskState};
pub use teams::{Member, Security, Team};
pub use tokens::{NewToken, TokenPrincipal, TokenRow};
pub use tx::Tx;
pub use users::{NewUser, User};
