//! The HTTP API through its real router: SQLite by default, PostgreSQL when `PANDA_TEST_POSTGRES` names one.

mod apps;
mod autoscale;
mod bodies;
mod certificates;
mod claim;
mod csrf;
mod deployments;
mod devices;
mod domains;
mod env;
mod events;
mod export;
mod frame;
mod moves;
mod ports;
mod registry_token;
mod routes;
mod scale;
mod sessions;
mod status;
mod tokens;
mod uploads;
