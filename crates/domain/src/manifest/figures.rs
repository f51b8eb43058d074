//! How large a figure may be, wherever it comes from: a manifest, or a release that was moved here.

use std::ops::RangeInclusive;

/// Seconds until every new instance is ready.
pub(super) const HEALTH_TIMEOUT_S: RangeInclusive<u32> = 10..=3600;
/// Seconds that the release command may take.
pub(super) const RELEASE_TIMEOUT_S: RangeInclusive<u32> = 1..=86_400;
/// Seconds until the first byte of a response.
pub(super) const HTTP_TIMEOUT_S: RangeInclusive<u32> = 1..=3600;
/// Bytes of a request's body: 1 KiB to 10 GiB.
pub(super) const BODY_LIMIT_BYTES: RangeInclusive<u64> = 1 << 10..=10 << 30;
/// Seconds between probes.
pub(super) const INTERVAL_S: RangeInclusive<u32> = 1..=3600;
/// Seconds that a probe may take.
pub(super) const PROBE_S: RangeInclusive<u32> = 1..=300;
/// Seconds until the first success.
pub(super) const STARTUP_S: RangeInclusive<u32> = 1..=3600;
/// Failures in a row that end readiness.
pub(super) const FAILURES: RangeInclusive<u32> = 1..=100;
/// Statuses of HTTP.
pub(super) const STATUSES: RangeInclusive<u16> = 100..=599;
/// Seconds out of the routes before the signal.
pub(super) const DRAIN_S: RangeInclusive<u32> = 0..=600;
/// Seconds between the signal and SIGKILL.
pub(super) const GRACE_S: RangeInclusive<u32> = 1..=600;

/// Tells whether these are the lowest and the highest of a range of HTTP statuses.
pub(super) fn are_statuses(low: u16, high: u16) -> bool {
    low <= high && STATUSES.contains(&low) && STATUSES.contains(&high)
}
