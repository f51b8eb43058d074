//! A task that comes again at its times.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Place;

/// How late a run may still start, seconds.
const LATE_S: i64 = 600;

/// Makes the cron job that makes jobs like this one. None starts while the one before runs.
pub fn cron_job(place: &Place, schedule: &str, time_zone: Option<&str>, job: Job) -> CronJob {
    let labels = ObjectMeta { labels: job.metadata.labels, ..ObjectMeta::default() };
    CronJob {
        metadata: place.meta(),
        spec: Some(CronJobSpec {
            schedule: schedule.to_owned(),
            time_zone: time_zone.map(str::to_owned),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(LATE_S),
            successful_jobs_history_limit: Some(3),
            failed_jobs_history_limit: Some(3),
            job_template: JobTemplateSpec { metadata: Some(labels), spec: job.spec },
            suspend: None,
        }),
        status: None,
    }
}
