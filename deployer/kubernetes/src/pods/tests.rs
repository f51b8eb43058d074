use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

/// A pod whose container is in this state; `ready` is the condition and when it last turned.
fn pod(state: &serde_json::Value, last: &serde_json::Value, restarts: i32, ready: (bool, &str)) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "uid": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "p", "namespace": "n" },
        "spec": { "containers": [{
            "name": "app",
            "ports": [{ "containerPort": 8080 }],
            "resources": { "limits": { "memory": "96Mi" } },
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": 8080 }, "timeoutSeconds": 5 },
        }] },
        "status": {
            "podIP": "10.244.0.5",
            "conditions": [{
                "type": "Ready",
                "status": if ready.0 { "True" } else { "False" },
                "lastTransitionTime": ready.1,
            }],
            "containerStatuses": [{
                "name": "app", "image": "", "imageID": "", "ready": ready.0, "started": true,
                "restartCount": restarts, "state": state, "lastState": last,
            }],
        },
    }))
    .unwrap()
}

fn running() -> serde_json::Value {
    json!({ "running": { "startedAt": "2026-01-01T00:00:30Z" } })
}

fn seen(pod: &Pod) -> ObservedInstance {
    observe(pod, Beside::default(), &Complaints::default(), now()).unwrap()
}

const BEFORE: &str = "2026-01-01T00:00:20Z";
const AFTER: &str = "2026-01-01T00:00:40Z";

#[test]
fn readiness_lost_is_told_from_never_ready() {
    let never = seen(&pod(&running(), &json!({}), 0, (false, BEFORE)));
    assert_eq!((never.state, never.ready_at), (InstanceState::Starting, None));
    let ready = seen(&pod(&running(), &json!({}), 0, (true, AFTER)));
    assert_eq!((ready.state, ready.ready_at), (InstanceState::Ready, Some(AFTER.parse().unwrap())));
    assert_eq!(ready.address.as_deref(), Some("10.244.0.5:8080"));
    assert_eq!(seen(&pod(&running(), &json!({}), 0, (false, AFTER))).state, InstanceState::Unready);
}

#[test]
fn a_pod_that_goes_is_draining_whatever_else_it_is() {
    let mut going = pod(&running(), &json!({}), 0, (true, AFTER));
    let surplus = Beside { surplus: true, ..Beside::default() };
    let chosen = observe(&going, surplus, &Complaints::default(), now()).unwrap();
    assert_eq!(chosen.state, InstanceState::Draining);
    let at = |text: &str| Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(text.parse().unwrap()));
    going.metadata.deletion_timestamp = at(BEFORE);
    assert_eq!(seen(&going).state, InstanceState::Draining);
    assert!(!is_lost(&going, now()), "its node may still be at it");
    going.metadata.deletion_timestamp = at("2025-12-31T23:00:00Z");
    assert!(is_lost(&going, now()));
}

#[test]
fn a_kill_for_memory_is_told_from_a_crash_and_has_its_peak() {
    let wait = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let oom = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    let killed = seen(&pod(&wait, &oom, 2, (false, BEFORE)));
    assert_eq!((killed.state, killed.memory_peak_bytes), (InstanceState::Oom, Some(96 << 20)));
    let exit = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    let crashed = seen(&pod(&wait, &exit, 2, (false, BEFORE)));
    assert_eq!((crashed.state, crashed.restarts), (InstanceState::Crashing, 2));
    let again = seen(&pod(&running(), &exit, 2, (false, BEFORE)));
    assert_eq!(again.state, InstanceState::Crashing, "also in the moments in which it runs");
}

#[test]
fn a_command_that_isnt_in_the_image_has_a_shells_exit_code() {
    let message = "failed to create containerd task: exec: \"foo\": executable file not found in $PATH";
    let end = json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": message } });
    let wait = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    assert_eq!(seen(&pod(&wait, &end, 1, (false, BEFORE))).last_exit.unwrap().code, 127);
}

#[test]
fn what_keeps_it_from_starting_is_final_or_may_pass() {
    let wait = |reason: &str, message: &str| {
        let state = json!({ "waiting": { "reason": reason, "message": message } });
        seen(&pod(&state, &json!({}), 0, (false, BEFORE)))
    };
    let gone = wait("ErrImagePull", "failed to pull: r/x@sha256:1: not found");
    assert!(gone.waiting.unwrap().contains("isn't in the registry") && gone.held_up.is_none());
    let away = wait("ImagePullBackOff", "Back-off pulling image: dial tcp: connection refused");
    assert!(away.waiting.is_none() && away.held_up.unwrap().contains("can't be reached"));
    let root = wait("CreateContainerConfigError", "container has runAsNonRoot and image will run as root");
    assert!(root.waiting.unwrap().contains("runs as root"));
    assert!(wait("CreateContainerConfigError", "secret \"x\" not found").waiting.is_none());
    let slow = "failed to sync secret cache: timed out waiting for the condition";
    assert!(wait("CreateContainerConfigError", slow).waiting.is_none(), "the node asks again");
    let anonymous =
        "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized";
    assert!(wait("ErrImagePull", anonymous).waiting.is_some(), "nobody gave it a login");
    let refused = json!({ "waiting": { "reason": "ErrImagePull", "message": anonymous } });
    let mut early = pod(&refused, &json!({}), 0, (false, BEFORE));
    early.spec.as_mut().unwrap().image_pull_secrets =
        serde_json::from_value(json!([{ "name": "x" }])).unwrap();
    assert!(seen(&early).held_up.unwrap().contains("doesn't have the registry's login"));
    let mut unplaced = pod(&json!({}), &json!({}), 0, (false, BEFORE));
    let scheduled = json!([{ "type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient memory." }]);
    unplaced.status.as_mut().unwrap().conditions = serde_json::from_value(scheduled).unwrap();
    let words = seen(&unplaced).held_up.unwrap();
    assert!(words.starts_with("not enough memory is free"), "{words}");
}

#[test]
fn a_worker_is_ready_once_it_has_run_for_a_while() {
    let mut worker = pod(&running(), &json!({}), 0, (true, "2026-01-01T00:00:30Z"));
    worker.spec.as_mut().unwrap().containers[0].ports = None;
    assert_eq!(seen(&worker).state, InstanceState::Ready);
    let soon = "2026-01-01T00:00:31Z".parse().unwrap();
    let early = observe(&worker, Beside::default(), &Complaints::default(), soon).unwrap();
    assert_eq!((early.state, early.address), (InstanceState::Starting, None));
}

#[test]
fn an_instance_has_the_cluster_s_own_id() {
    let pod = pod(&running(), &json!({}), 0, (true, AFTER));
    let told: InstanceId = "ins_01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    assert_eq!(id(&pod), Some(told));
}
