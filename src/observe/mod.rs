//! What runs on this node: its TCP connections, by process, and which of them can be accelerated.
//!
//! Nothing here changes anything. [`Observer`] looks at all sockets ([`crate::sockets`]), [`conditions`] judges one
//! connection, and [`Survey`] compares two looks.

mod conditions;
mod costs;
mod epoll;
mod name;
mod observer;
mod pod;
mod process;
mod route;
mod ruling;
mod state;
mod survey;

pub use conditions::{Condition, conditions};
pub use costs::{Costs, MessageCost, RouteCosts};
pub use epoll::{Epoll, Epolls};
pub use observer::{Observed, Observer};
pub use pod::{PodNames, PodOf};
pub use process::{End, Processes, is_running};
pub use route::Route;
pub use ruling::Ruling;
pub use state::State;
pub use survey::{Group, RouteTraffic, Survey, Why};
