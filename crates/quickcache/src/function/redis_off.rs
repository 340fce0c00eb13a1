//! Without the feature `redis` no function is at one.

use super::entry::Handle;
use super::stale::Last;
use super::work::{Hand, Work};
use super::{Flown, Function, Site};
use crate::entry::Seal;
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::guarded::Found;
use crate::protocol::machine::ValidFrom;
use crate::stats::Explanation;
use crate::tier::store::Proven;

/// A function at a Redis: there is none.
pub(crate) enum AtRedis {}

pub(super) fn at_redis(_site: &Site) -> Option<AtRedis> {
    None
}

pub(super) fn seal(_site: &Site) -> Option<Seal> {
    None
}

pub(super) fn proven_by(_redis: Option<&AtRedis>) -> Option<Proven> {
    None
}

pub(super) fn longest_staleness() -> Option<std::time::Duration> {
    None
}

/// How a caller waits.
pub(super) struct InPlace;
pub(super) struct Soon;

/// What a call knows of its key in Redis: nothing.
#[derive(Default)]
pub(super) struct AtHand {}

impl AtHand {
    pub(super) fn is_void(&self) -> bool {
        false
    }
}

impl Function {
    pub(super) fn lag(&self) -> Option<std::time::Duration> {
        None
    }

    pub(super) fn redis_answers(&self) -> bool {
        false
    }

    pub(super) async fn clear_in_redis<V>(&self, _: &V, _: &Digest) -> Option<String> {
        None
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Handle<K, O> {
    pub(super) async fn explain_redis<V>(&self, _: &V, _: &mut Explanation) {}
}

impl Site {
    pub(super) async fn clear_all_in_redis<V>(&self, _: &V) -> Option<String> {
        None
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    pub(super) fn valid_from(&self) -> ValidFrom {
        ValidFrom::Joined
    }

    pub(super) fn may_keep(&self, _: &Hand<K, O::Returned>) -> bool {
        true
    }

    pub(super) async fn look_at_redis<V>(&self, _: &V) -> Option<Found<Flown>> {
        None
    }

    pub(super) async fn peek_at_redis<V>(&self, _: &V) -> Option<Found<Flown>> {
        None
    }

    pub(super) async fn stale_in_redis<V>(&self, _: &V) -> Last<O::Value> {
        Last::Unknown
    }

    pub(super) fn begin_in_redis(&self) {}

    pub(super) async fn fill_redis<V>(&self, _: &V, _: &Flown) {}

    pub(super) async fn take_in_redis<V>(&self, _: &V) {}

    pub(super) async fn supersede_in_redis<V>(&self, _: &V, _: &Flown) -> bool {
        true
    }
}
