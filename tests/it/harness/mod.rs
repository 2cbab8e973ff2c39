//! The harness of the suites: the real binary (`gateway`), an upstream that the test plays (`upstream`) or that
//! answers by itself (`echo`, `vendor`), files that change (`site`), the service manager (`manager`), the API as a client
//! calls it (`api`), exact connections (`wire`), clients that speak HTTP/2 (`http2`), a machine that fails (`namespace`, `faulty_disk`), a name server
//! (`name_server`), and the check of every exchange (`exchange`).

mod api;
mod echo;
mod exchange;
mod faulty_disk;
mod gateway;
pub mod http2;
mod manager;
mod name_server;
mod namespace;
mod site;
mod upstream;
mod vendor;
mod wire;
mod world;

pub use api::Api;
pub use exchange::{
    Answer, Exchange, FOREIGN_ADMIN, FOREIGN_TOKEN, Fault, NO_ADMIN, NO_TOKEN, WRONG_ADMIN, WRONG_TOKEN,
    chunk,
};
pub use faulty_disk::{DiskFault, FaultyDisk};
pub use gateway::{CommandOutput, Gateway, Home, binary, connect, database, over_socket, root};
pub use http2::Http2;
pub use manager::Manager;
pub use name_server::NameServer;
pub use site::{Site, answered, eventually, pause, save};
pub use upstream::{Next, Upstream};
pub use vendor::{Bill, Vendor};
pub use wire::{Broken, Framing, LIMIT, Message, Wire};
pub use world::{KEY, PROVIDER, World, provider, provider_with_login};
