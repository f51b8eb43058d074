//! Use-cases, one noun a file: authorise, then one transaction.

pub mod apps;
pub mod autoscale;
pub mod certificates;
pub mod claim;
pub mod deployments;
pub mod devices;
pub mod domains;
pub mod env;
pub mod events;
pub mod exec;
pub mod export;
pub mod logs;
pub mod members;
pub mod moves;
pub mod ports;
pub mod processes;
pub mod projects;
pub mod releases;
pub mod scale;
pub mod seen;
pub mod sessions;
pub mod status;
pub mod tasks;
pub mod tokens;
pub mod uploads;

use panda_api_types::{ErrorCode, FieldError};
use panda_domain::manifest::ManifestErrors;

use crate::error::Error;

/// Says everything that is wrong with a `panda.toml`.
pub(crate) fn manifest_error(errors: &ManifestErrors) -> Error {
    let code = if errors.only_unsupported() { ErrorCode::Unsupported } else { ErrorCode::InvalidManifest };
    let fields = errors.0.iter().map(|mistake| FieldError {
        field: mistake.field.clone(),
        message: format!("line {}: {}; {}", mistake.line, mistake.cause, mistake.fix),
    });
    let first = errors
        .0
        .first()
        .map_or_else(|| "it can't be read".to_owned(), |m| format!("line {}: {}", m.line, m.cause));
    let hint = errors.0.first().map(|m| m.fix.clone()).unwrap_or_default();
    Error::new(code, format!("panda.toml: {first}")).with_hint(hint).with_fields(fields.collect())
}
