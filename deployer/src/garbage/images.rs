//! Images that the runtime pulled and that no kept release has.

use std::collections::HashSet;
use std::time::Duration;

use super::Garbage;
use super::error::GarbageError;
use super::tally::Tally;

/// An image that somebody asked for a moment ago is about to be used: its release may come a second later. Who wants uploads
/// to go sooner wants that of images too.
const GRACE: Duration = Duration::from_hours(1);

impl Garbage {
    /// Has the runtime remove them. What runs stays anyway, and one that is wanted again is pulled again.
    pub(super) async fn old_images(&self) -> Result<Tally, GarbageError> {
        let kept = self.store.read().await?.kept_releases(self.settings.keep_releases).await?;
        let keep: HashSet<_> = kept.into_iter().map(|release| release.image.digest).collect();
        let grace = GRACE.min(self.settings.upload_grace);
        let mut tally = Tally::default();
        let removed = self.runtime.remove_old_images(&keep, self.ago(grace)).await?;
        tally.count("images at the runtime", removed);
        Ok(tally)
    }
}
