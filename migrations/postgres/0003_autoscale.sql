-- Between which bounds, and at what load in percent of an instance's size, the replicas of a process change by themselves.
-- autoscale_min is null where they don't.
alter table formations add column autoscale_min bigint;
alter table formations add column autoscale_max bigint;
alter table formations add column autoscale_cpu bigint;
alter table formations add column autoscale_memory bigint;
