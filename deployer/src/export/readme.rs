//! What the README of every export says: what is here, which holes are to be filled, where the image comes from.

use std::fmt::Write as _;

use super::ExportedApp;

/// A README that is being written.
#[derive(Debug, Clone)]
pub struct Readme(String);

impl Readme {
    /// Begins it: which app, and what the files are.
    pub fn of(app: &ExportedApp, what: &str) -> Self {
        let ExportedApp { name, environment, release, .. } = app;
        Self(format!(
            "# {name}\n\nThe app `{name}` as release v{release} of it served in `{environment}`: {what}. Nothing here needs Panda.\n"
        ))
    }

    /// Adds a section.
    #[must_use]
    pub fn section(mut self, heading: &str, text: &str) -> Self {
        write!(self.0, "\n## {heading}\n\n{}\n", text.trim_end())
            .expect("a string takes all that is written");
        self
    }

    /// Says where the image lies and how it gets elsewhere. `set_name` says where its name is written then.
    #[must_use]
    pub fn image(self, app: &ExportedApp, set_name: &str) -> Self {
        let reference = app.image.reference();
        let mut text = format!("The image, by digest:\n\n    {reference}\n\n");
        if app.own_registry {
            let (repository, digest) = (&app.image.repository, app.image.digest.as_str());
            let hex = digest.trim_start_matches("sha256:");
            let tag = hex.get(..12).unwrap_or(hex);
            let _ = write!(
                text,
                "It lies in the registry of the Panda that it comes from, which others may not reach and which asks for a login. \
                 Copy it to a registry of yours before that Panda goes, on a machine that pulls from there (the one that Panda \
                 runs on, or a node of its cluster):\n\n    \
                 docker pull {repository}@{digest}\n    \
                 docker tag {repository}@{digest} REGISTRY/{name}:{tag}\n    \
                 docker push REGISTRY/{name}:{tag}\n\n\
                 `skopeo copy docker://{reference} docker://REGISTRY/{name}:{tag}` does the same without a Docker engine. \
                 Then {set_name}.",
                name = app.name
            );
        } else {
            let _ = write!(
                text,
                "Whoever runs it needs to be able to pull it from there; a private registry wants a login (`docker login`, or a \
                 pull secret). If it moves, {set_name}."
            );
        }
        self.section("The image", &text)
    }

    /// Says which addresses of other apps this one was told, if any.
    #[must_use]
    pub fn neighbours(self, app: &ExportedApp, together: &str) -> Self {
        let lines: Vec<String> = app.neighbours().map(|(key, url)| format!("- `{key}`: {url}\n")).collect();
        if lines.is_empty() {
            return self;
        }
        let text = format!(
            "It was told where other apps of its environment answer. They aren't in this export; {together}, or change the \
             addresses:\n\n{}",
            lines.concat()
        );
        self.section("Other apps", &text)
    }

    /// Says which of its own variables Panda had given it.
    #[must_use]
    pub fn variables(self) -> Self {
        self.section(
            "Variables that begin with PANDA_",
            "They are what Panda told the app, kept so that nothing changes for it: its name, environment, release, commit and \
             address. If the app doesn't read them, remove them; if it does, `PANDA_URL` should become its new address. \
             `PANDA_INSTANCE` isn't set any more: an instance's host name tells it from others.",
        )
    }

    /// Returns the text.
    pub fn text(self) -> String {
        self.0
    }
}
