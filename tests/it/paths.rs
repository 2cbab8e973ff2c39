//! Client paths with rest captures before other segments, closed sets and encoded slashes, to the upstream.

use crate::harness::{Exchange, Fault, World};

const ENDPOINTS: &str = r#"
[endpoint.status]
method = "GET"
path = "/queue/{app...}/requests/{id}/status"
upstream_path = "/v2/{id}/of/{app}"
[endpoint.queue]
method = "GET"
path = "/queue/{rest...}"
[endpoint.sub]
method = "GET"
path = "/{sub}/models"
captures = { sub = ["groq", "together"] }
upstream_path = "/from/{sub}"
[endpoint.invoke]
method = "GET"
path = "/model/{model}/invoke"
encoded_slash = ["model"]
"#;

#[test]
fn captures_reach_the_upstream_as_they_were_sent() {
    let mut world = World::with(ENDPOINTS, &[]);
    let mut check = |path: &str, upstream: &str| {
        world.exchange(Exchange::get().at(&format!("/t{path}"), upstream));
    };
    check("/queue/a/b/requests/7/status", "/v2/7/of/a/b");
    check("/queue/a/requests/7/status/requests/8/status", "/v2/8/of/a/requests/7/status");
    check("/queue/a/requests/7/state", "/queue/a/requests/7/state");
    check("/groq/models", "/from/groq");
    check("/model/arn:aws:x%2Facme-1/invoke?a=%2F", "/model/arn:aws:x%2Facme-1/invoke?a=%2F");
    check("/model/a%2fb%2Fc/invoke", "/model/a%2fb%2Fc/invoke");
    check("/model/plain/invoke", "/model/plain/invoke");
}

#[test]
fn other_texts_match_no_endpoint() {
    let mut world = World::with(ENDPOINTS, &[]);
    for path in [
        "/other/models",
        "/groq%2Fx/models",
        "/model/a%2F..%2Fb/invoke",
        "/model/..%2Fb/invoke",
        "/model/%2Fb/invoke",
        "/model/a%2F/invoke",
        "/model/a%2F%2Fb/invoke",
        "/model/%252e%252e%2Fb/invoke",
        "/model/a%2Fb%5C/invoke",
        "/model/a%2Fb%2Finvoke",
        "/queue/a%2Fb/status",
        "/queue/a/../requests/7/status",
        "/queue/%2e%2e/requests/7/status",
    ] {
        let request = format!(
            "GET /t{path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {}\r\n\r\n",
            world.token
        );
        let message = format!("Route not implemented in AI Gateway: /t{path}");
        world.fault(request, Fault(404, "route_not_found", &message));
    }
}
