//! What the suites stand on: the real binary (`gateway`), the upstream that a test plays itself
//! (`upstream`), the service manager (`manager`), exact connections (`wire`), a machine that fails
//! (`namespace`), and the one way in which exchanges are checked (`exchange`).

mod exchange;
mod gateway;
mod manager;
mod namespace;
mod upstream;
mod wire;
mod world;

pub use exchange::{Answer, Exchange, Fault, chunk};
pub use gateway::{Gateway, Home, Said, binary, root};
pub use manager::Manager;
pub use upstream::{Next, Upstream};
pub use wire::{Broken, Framing, LIMIT, Message, Wire};
pub use world::{KEY, PROVIDER, World, provider};
