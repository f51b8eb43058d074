//! Both sides end at the same moment: when nothing but the new version answers.

use std::time::{Duration, Instant};

/// So many answers in a row have to be the new version's.
const IN_A_ROW: u32 = 12;
/// How often is looked.
const PAUSE: Duration = Duration::from_millis(5);
/// No side may take longer.
const PATIENCE: Duration = Duration::from_mins(2);

/// Asks until only what is wished answers; returns when that began.
pub(crate) async fn until_only(
    client: &reqwest::Client,
    url: &str,
    since: Instant,
    wished: impl Fn(&reqwest::header::HeaderMap, &str) -> bool,
) -> anyhow::Result<Duration> {
    let (mut row, mut first, mut last) = (0, since, String::new());
    while since.elapsed() < PATIENCE {
        let asked = Instant::now();
        let fits = match client.get(url).send().await {
            Ok(answer) => {
                let headers = answer.headers().clone();
                last = answer.text().await.unwrap_or_default();
                wished(&headers, &last)
            }
            Err(error) => {
                last = error.to_string();
                false
            }
        };
        if !fits {
            row = 0;
        } else if row == 0 {
            (row, first) = (1, asked);
        } else {
            row += 1;
        }
        if row >= IN_A_ROW {
            return Ok(first - since);
        }
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::bail!("the new version didn't take over within {PATIENCE:?}; the last answer was `{last}`")
}
