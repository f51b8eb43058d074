//! Contracts of tasks.

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use panda_deployer::runtime::{LogQuery, LogTarget, TaskKey, TaskSpec, TaskStatus};

use super::{Harness, Place};

/// The same id is the same task, whether it runs or has ended.
pub async fn a_task_runs_once_and_tells_its_exit_code(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.task(place, "echo once; sleep 1; exit 3");
    ensure!(harness.runtime.task_status(&spec.key).await? == TaskStatus::Absent);
    harness.runtime.start_task(&spec).await?;
    harness.runtime.start_task(&spec).await?;
    let ended = ended(harness, &spec.key).await?;
    ensure!(ended == TaskStatus::Ended { code: 3, oom: false, timed_out: false }, "{ended:?}");
    harness.runtime.start_task(&spec).await?;
    ensure!(harness.runtime.task_status(&spec.key).await? == ended, "it isn't started again");
    let lines = lines(harness, &spec.key).await?;
    ensure!(lines == ["once"], "{lines:?}");
    harness.runtime.remove_task(&spec.key).await?;
    Ok(())
}

/// The deadline holds, and is told from a kill.
pub async fn a_task_beyond_its_time_is_killed(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = TaskSpec { timeout_s: 1, ..harness.task(place, "sleep 30") };
    harness.runtime.start_task(&spec).await?;
    let ended = ended(harness, &spec.key).await?;
    ensure!(matches!(ended, TaskStatus::Ended { timed_out: true, .. }), "{ended:?}");
    harness.runtime.remove_task(&spec.key).await?;
    Ok(())
}

/// Canceling is fine at any time.
pub async fn canceling_a_task_twice_is_canceling_it_once(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.task(place, "sleep 30");
    harness.runtime.cancel_task(&spec.key).await?;
    harness.runtime.start_task(&spec).await?;
    harness.runtime.cancel_task(&spec.key).await?;
    harness.runtime.cancel_task(&spec.key).await?;
    let ended = ended(harness, &spec.key).await?;
    ensure!(matches!(ended, TaskStatus::Ended { code: 137, timed_out: false, .. }), "{ended:?}");
    harness.runtime.remove_task(&spec.key).await?;
    Ok(())
}

/// Removal forgets, twice is once.
pub async fn a_removed_task_is_absent(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.task(place, "exit 0");
    harness.runtime.start_task(&spec).await?;
    harness.runtime.remove_task(&spec.key).await?;
    harness.runtime.remove_task(&spec.key).await?;
    ensure!(harness.runtime.task_status(&spec.key).await? == TaskStatus::Absent);
    Ok(())
}

/// What a task printed can be read after its end, by log and by attaching.
pub async fn a_tasks_output_can_be_read(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.task(place, "echo first; echo second; exit 4");
    harness.runtime.start_task(&spec).await?;
    let session = harness.runtime.attach_task(&spec.key, None).await?;
    let printed: Vec<_> = session.output.map_ok(|(_, bytes)| bytes).try_collect().await?;
    let printed = printed.concat();
    ensure!(printed == b"first\nsecond\n", "{}", String::from_utf8_lossy(&printed));
    ensure!(session.exit.await? == 4);
    let lines = lines(harness, &spec.key).await?;
    ensure!(lines == ["first", "second"], "{lines:?}");
    harness.runtime.remove_task(&spec.key).await?;
    Ok(())
}

async fn ended(harness: &Harness, key: &TaskKey) -> Result<TaskStatus> {
    harness
        .until("the task has ended", || async {
            let status = harness.runtime.task_status(key).await?;
            Ok(matches!(status, TaskStatus::Ended { .. }).then_some(status))
        })
        .await
}

async fn lines(harness: &Harness, key: &TaskKey) -> Result<Vec<String>> {
    let target = LogTarget::Task(key.clone());
    let query = LogQuery { target, follow: false, since: None, tail: None };
    let lines = harness.runtime.logs(&query).await?;
    let text = lines.map(|line| line.map(|line| String::from_utf8_lossy(&line.line).into_owned()));
    Ok(text.try_collect().await?)
}
