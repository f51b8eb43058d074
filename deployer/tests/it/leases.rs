//! Two servers and one job: who lost the lease writes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use panda_deployer::resolve::ResolveImage;
use panda_deployer::runtime::fake::Behaviour;
use panda_jobs::{Handler, JobContext, JobOutcome, Runner};
use panda_store::Store;

use crate::support::Rig;

/// How long the runner's lease holds, and a little.
const LEASE_OVER: Duration = Duration::from_secs(31);

/// A handler that is so slow that another server takes its job before it has written anything.
struct Late {
    inner: ResolveImage,
    store: Store,
    clock: panda_domain::clock::Clock,
}

#[async_trait]
impl Handler for Late {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        self.clock.advance(LEASE_OVER);
        let mut tx = self.store.begin().await.unwrap();
        let taken = tx.claim_job("another", &["resolve_image"], LEASE_OVER).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(taken.map(|job| job.id), Some(context.job().id.clone()));
        self.inner.run(context).await
    }
}

#[tokio::test]
async fn a_resolver_that_lost_its_job_neither_releases_nor_refuses() {
    for there in [true, false] {
        let rig = Rig::new().await;
        // The first try meets no runtime; what it said is what has been said.
        rig.fake.set_unavailable(true);
        let id = rig.ask('1', None).await;
        rig.jobs().await;
        rig.fake.set_unavailable(false);
        let said = rig.store().read().await.unwrap().progress_after(&id, 0, 100).await.unwrap();
        if there {
            rig.image('1', Behaviour::default());
        }
        rig.test.clock.advance(LEASE_OVER);
        let late = Late {
            inner: ResolveImage::new(rig.store().clone(), Arc::new(rig.fake.clone())),
            store: rig.store().clone(),
            clock: rig.test.clock.clone(),
        };
        let runner = Runner::new(rig.store().clone(), "late").handle("resolve_image", 1, Arc::new(late));
        runner.run_until_idle().await;
        assert_eq!(rig.state(&id).await, "queued");
        assert_eq!(rig.store().read().await.unwrap().progress_after(&id, 0, 100).await.unwrap(), said);

        // Who has the job ends it.
        rig.test.clock.advance(LEASE_OVER);
        rig.pass(12).await;
        assert_eq!(rig.state(&id).await, if there { "live" } else { "build_failed" });
    }
}
