//! What every verb has at hand: the flags, the place, the server, and a mouth.

use panda_api_types::{App, ErrorCode};
use panda_domain::manifest::closest;
use panda_domain::names::{AppName, EnvironmentName};

use crate::api::{Api, Ask};
use crate::args::Shared;
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::target::Place;

/// What a server says of an app that isn't there, or not for this user.
pub(crate) const NO_APP: &str = "there is no such app";

/// A verb that talks to a server.
pub(crate) struct Session {
    /// The flags that every verb takes.
    pub(crate) shared: Shared,
    /// Where it prints.
    pub(crate) out: Output,
    /// Where it runs.
    pub(crate) place: Place,
    /// The server.
    pub(crate) api: Api,
}

/// An app in an environment, as the command line means it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The app.
    pub(crate) app: AppName,
    /// The environment.
    pub(crate) environment: EnvironmentName,
}

impl Target {
    /// Returns the path of the app, or of something below it, in this environment.
    pub(crate) fn ask<'a>(&self, below: impl IntoIterator<Item = &'a str>) -> Ask {
        Ask::at(["apps", self.app.as_str()]).then(below).with("environment", &self.environment)
    }
}

impl Session {
    /// Finds the server and opens a client.
    pub(crate) fn open(shared: Shared, out: Output, place: Place) -> Result<Self> {
        let api = Api::new(place.server(&shared)?)?;
        Ok(Self { shared, out, place, api })
    }

    /// Returns the app that the command line means.
    pub(crate) fn target(&self) -> Result<Target> {
        let app = self.place.app(&self.shared)?;
        Ok(Target { app, environment: self.place.environment(&self.shared)? })
    }

    /// Says what isn't there, and "did you mean" when one with a similar name is.
    pub(crate) async fn explain(&self, target: &Target, error: CliError) -> CliError {
        if error.code() != Some(ErrorCode::NotFound) {
            return error;
        }
        let apps: Vec<App> = self.api.list(&Ask::at(["apps"]), None).await.unwrap_or_default();
        let mut here = apps.iter().filter(|app| app.name == target.app.as_str()).peekable();
        let named = format!("there is no app `{}`", target.app);
        let about_app = [NO_APP, &named].contains(&error.detail());
        if here.peek().is_some() {
            let environments: Vec<&str> = here.map(|app| app.environment.as_str()).collect();
            if !about_app || environments.contains(&target.environment.as_str()) {
                return error;
            }
            let detail = format!("`{}` isn't in the environment `{}`", target.app, target.environment);
            return error
                .detail_instead(detail)
                .hint_instead(format!("it is in: {}", environments.join(", ")));
        }
        if !about_app {
            return error;
        }
        let error = error.detail_instead(named);
        match closest(target.app.as_str(), apps.iter().map(|app| app.name.as_str())) {
            Some(close) => error.hint_instead(format!(
                "did you mean `{close}`? `panda link {close}` sets it for this directory"
            )),
            None => {
                error.hint_instead("`panda apps list` shows all; `panda deploy` makes a new one".to_owned())
            }
        }
    }
}
