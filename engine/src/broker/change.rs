//! Another configuration, and the end: what becomes of the links to a cluster.

use super::link::Link;
use super::{Cluster, ClusterTerms};
use crate::shard::io::Io;

impl Cluster {
    /// Deals with the cluster like this from now on. Links that stand go on as they were made; who we are is asked of us when one is dialled,
    /// or when a login ends. `reintroduce`: the connector's options are others; what is down is dialled at once.
    pub fn configure(&mut self, terms: ClusterTerms, reintroduce: bool) {
        self.refresh.configure(terms.refresh_min_ms, terms.refresh_max_ms);
        self.limits.configure(terms.refresh_max_ms);
        if reintroduce {
            self.login.set_credentials(terms.credentials.clone());
            // What was in vain may not be any more.
            let links = self.brokers.iter_mut().flat_map(|broker| &mut broker.links);
            links.chain([&mut self.control]).for_each(Link::rest_no_more);
        }
        self.settings.terms = terms;
    }

    /// Ends every link. Nobody may ask this cluster anything after it: what comes late of its links finds nobody.
    pub fn close(&mut self, io: &mut impl Io) {
        self.control.close(io);
        self.brokers.iter_mut().flat_map(|broker| &mut broker.links).for_each(|link| link.close(io));
    }
}
