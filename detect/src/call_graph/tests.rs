use super::*;
use crate::testing::Feed;

fn calls(graph: &CallGraph) -> Vec<(&str, &str)> {
    graph.calls().map(|(caller, callee)| (&**caller, &**callee)).collect()
}

fn secs(second: i64) -> UnixNanos {
    UnixNanos(second * 1_000_000_000)
}

#[test]
fn a_servers_parent_in_another_service_is_a_call() {
    let mut feed = Feed::default();
    feed.call("shop", "quotes", 5);
    feed.call("quotes", "db", 6);
    feed.call("quotes", "quotes", 6);
    let mut graph = CallGraph::default();
    graph.look(&feed.snapshot(), secs(10));
    assert_eq!(calls(&graph), [("quotes", "db"), ("shop", "quotes")], "a service that calls itself is none");
    assert!(graph.are_neighbours("db", "quotes") && graph.are_neighbours("quotes", "db"));
    assert!(!graph.are_neighbours("db", "shop"));
    assert_eq!(graph.callees("quotes").map(|s| &**s).collect::<Vec<_>>(), ["db"]);
}

#[test]
fn it_looks_now_and_then_and_forgets_what_it_no_longer_sees() {
    let mut feed = Feed::default();
    feed.call("shop", "quotes", 5);
    let mut graph = CallGraph::default();
    graph.look(&feed.snapshot(), secs(10));
    feed.call("shop", "mail", 15);
    graph.look(&feed.snapshot(), secs(20));
    assert_eq!(calls(&graph), [("shop", "quotes")], "not yet");
    graph.look(&feed.snapshot(), secs(50));
    assert_eq!(calls(&graph), [("shop", "mail"), ("shop", "quotes")]);
    graph.look(&feed.snapshot(), secs(3_640));
    assert_eq!(calls(&graph), [("shop", "mail")], "the other was last seen more than an hour ago");
}
