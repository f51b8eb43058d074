//! The wire: what the API says and takes, shared by server, CLI and dashboard.
//!
//! Owns the JSON shapes, [`ErrorCode`] and [`Problem`]. Knows no use-case and no storage.

mod account;
mod app;
mod certificate;
mod common;
mod deployment;
mod domain;
mod env;
mod error;
mod export;
mod instance;
mod moves;
mod plan;
mod port;
mod release;
mod server;
mod stream;
mod upload;

pub use account::{
    ClaimRequest, DeviceApproval, DeviceCode, DeviceCodeRequest, DeviceTokenRequest, LoginRequest, Member,
    PasswordChange, Session, Token, TokenCreated, TokenRequest, Whoami,
};
pub use app::{
    App, AppRequest, AutoscaleBounds, AutoscaleRequest, Autoscaler, Environment, ProcessScale, Project,
    ScaleRequest, Status,
};
pub use certificate::{CertificateRequest, OwnCertificate};
pub use common::{Page, PageQuery};
pub use deployment::{DeployRequest, Deployment, DeploymentAccepted, DeploymentOverrides, RollbackRequest};
pub use domain::{DnsRecord, Domain, DomainRequest};
pub use env::{EnvChangeRequest, EnvChanged, EnvHistoryEntry, EnvPatch, EnvVariable};
pub use error::{ErrorCode, FieldError, Problem};
pub use export::{Export, ExportFile, ExportFormat};
pub use instance::{ExecStart, Instance, TaskRequest, TaskView};
pub use moves::{MoveBundle, MoveInRequest, MoveKey, MoveOut, MoveOutRequest};
pub use plan::{PlanRequest, PlanView};
pub use port::Port;
pub use release::{Release, ReleaseChange, ReleaseDiff};
pub use server::{DoctorCheck, ServerInfo};
pub use stream::{DeployEvent, DeployStep, EventView, LogLine};
pub use upload::{MissingBlobs, TreeRequest, TreeView};
