//! Every way to say no, and what the caller learns of it.
//!
//! One exhaustive match gives each error its status and code, another its exact reason for log and metric:
//! an error that is new does not compile until it has its row in both.

use http::StatusCode;

use crate::body::BodyError;
use crate::entropy::NoEntropy;
use crate::gateway::auth::{AuthError, AuthReason, ClaimFault, HeaderFault};
use crate::gateway::cards::CardsError;
use crate::gateway::delivery::DeliveryError;
use crate::gateway::discovery_document::NotDiscovery;
use crate::gateway::inspect::InspectError;
use crate::gateway::limit::{Limit, Limited};
use crate::gateway::opening::LocationError;
use crate::gateway::outcomes::OutcomesError;
use crate::gateway::replay::ReplayError;
use crate::gateway::reply::Public;
use crate::gateway::rewrite::RewriteError;
use crate::gateway::route::RouteError;
use crate::gateway::tokens::{IdError, IdsError, SealError, TokenError};
use crate::gateway::upstream::UpstreamError;
use crate::store::StoreError;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Refusal {
    /// It goes nowhere, or could be read in two ways.
    Route(#[from] RouteError),
    /// The token.
    Auth(#[from] AuthError),
    /// Too often.
    Limit(#[from] Limited),
    /// The body.
    Body(#[from] BodyError),
    /// The token was good, once.
    Replay(#[from] ReplayError),
    /// What the request says.
    Inspect(#[from] InspectError),
    /// What the feedback says.
    Outcomes(#[from] OutcomesError),
    /// The upstream.
    Upstream(#[from] UpstreamError),
    /// The upstream's discovery document.
    Discovery(#[from] NotDiscovery),
    /// The upstream's cards.
    Rewrite(#[from] RewriteError),
    /// The link.
    Token(#[from] TokenError),
    /// The link was good, once.
    Gone(#[from] Gone),
    /// The link's target cannot be gone to.
    Location(#[from] LocationError),
    /// The id.
    Id(#[from] IdError),
    /// The delivery cannot be settled.
    Delivery(#[from] DeliveryError),
    /// State.
    Store(#[from] StoreError),
    /// Randomness.
    Entropy(#[from] NoEntropy),
    /// Something in the request itself, named by its variant.
    Request(#[from] RequestError),
}
