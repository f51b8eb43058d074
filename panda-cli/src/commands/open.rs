//! `open`: the app in a browser.

use panda_api_types::{App, ErrorCode};
use url::Url;

use crate::args::OpenArgs;
use crate::error::{CliError, Result};
use crate::session::Session;

/// Opens the app, or prints its address.
pub(super) async fn run(session: &Session, args: &OpenArgs) -> Result<()> {
    let target = session.target()?;
    let app: App = session.api.get(&target.ask([])).await?;
    let odd = |text: &str| CliError::new(ErrorCode::Internal, format!("`{text}` is no address"));
    let base = Url::parse(&app.url).map_err(|_| odd(&app.url))?;
    let url = match &args.path {
        Some(path) => base.join(path).map_err(|_| CliError::usage(format!("`{path}` is no path")))?,
        None => base,
    };
    // What a browser opens comes from the server; anything but a web page is refused.
    if !matches!(url.scheme(), "http" | "https") {
        return Err(odd(url.as_str()));
    }
    if session.out.json {
        session.out.json(&serde_json::json!({ "url": url }));
    } else if args.print || !session.out.terminal {
        session.out.line(url.as_str());
    } else {
        session.out.say(&format!("opening {url}"));
        open::that_detached(url.as_str()).map_err(|error| {
            CliError::new(ErrorCode::Unsupported, format!("no browser could be started: {error}"))
                .hint(format!("open {url} yourself"))
        })?;
    }
    Ok(())
}
