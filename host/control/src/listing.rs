//! A complete listing of a backend: every page of it, or an error. A part of one is no ground for anything.

use std::collections::HashMap;

use seawall_backend::{Error, ExecutionBackend as _};
use seawall_model::{Incarnation, SessionId, Workload};

use crate::backend::{Backend, call};

/// A listing with more pages, workloads, or bytes of what the backend wrote into them is no listing. It is kept in
/// memory until it is complete, and a backend that goes on for ever would take all there is.
const MOST_PAGES: usize = 1000;
const MOST_WORKLOADS: usize = 100_000;
const MOST_BYTES: usize = 64 << 20;

/// Where a workload stands: two of one backend are never the same in both.
pub(crate) type Place = (SessionId, Incarnation);

/// A complete listing.
pub(crate) type Listing = HashMap<Place, Workload>;

/// Asks for every page.
pub(crate) async fn listing(backend: &Backend) -> Result<Listing, Error> {
    let mut listing = Listing::new();
    let mut cursor: Option<String> = None;
    let (mut workloads, mut bytes) = (0, 0);
    for _ in 0..MOST_PAGES {
        let page = call("list", backend.driver.list(cursor.as_deref())).await?;
        workloads += page.workloads.len();
        bytes += page.workloads.iter().map(written).sum::<usize>();
        if workloads > MOST_WORKLOADS {
            return Err(Error::Other(format!("the listing has no end after {MOST_WORKLOADS} workloads")));
        }
        if bytes > MOST_BYTES {
            return Err(Error::Other(format!("the listing's handles and messages have more than {MOST_BYTES} bytes")));
        }
        for workload in page.workloads {
            listing.insert((workload.session.clone(), workload.incarnation), workload);
        }
        match page.next {
            None => return Ok(listing),
            next if next == cursor => return Err(Error::Other("the listing goes round in a circle".to_owned())),
            next => cursor = next,
        }
    }
    Err(Error::Other(format!("the listing has no end after {MOST_PAGES} pages")))
}

/// Bytes of a workload that the backend chose.
fn written(workload: &Workload) -> usize {
    let message = workload.status.exit.as_ref().and_then(|exit| exit.message.as_ref()).map_or(0, String::len);
    message + workload.status.handle.as_ref().map_or(0, Vec::len)
}
