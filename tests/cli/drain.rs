//! The way out, with work at hand.

use std::error::Error;
use std::io;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookgate::demo::server::Server;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::home::{Home, cards, run, until};

/// A service that answers when it is let, and counts who came.
struct Gated {
    server: Server,
    came: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Gated {
    async fn start() -> Self {
        let (came, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, wait) = (Arc::clone(&came), Arc::clone(&gate));
        let server = Server::start(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let wait = Arc::clone(&wait);
            async move {
                wait.acquire().await.unwrap().forget();
                cards()
            }
        })
        .await
        .unwrap();
        Self { server, came, gate }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

fn patient(home: &Home, service: &Gated, grace: &str) -> String {
    let config = home.config(&service.server.url());
    let grace = format!("ready_grace = \"{grace}\"\ndrain_timeout = \"60s\"");
    config.replace("ready_grace = \"0s\"", &grace)
}

#[tokio::test]
async fn calls_of_before_during_grace_and_drain_are_answered() {
    let (home, service) = (Arc::new(Home::new()), Gated::start().await);
    let running = home.serve(&patient(&home, &service, "5s"));
    let call = || {
        let home = Arc::clone(&home);
        let client = home.http().build().unwrap();
        tokio::spawn(async move { home.call(&client).await.map(|answer| answer.status().as_u16()) })
    };
    let before = call();
    until("the first call arrives", async || service.came() == 1).await;
    running.signal("TERM");
    until("not ready", async || running.health("/readyz").await.unwrap().0 == 503).await;
    let (_, pending) = running.health("/readyz").await.unwrap();
    assert_eq!(pending, r#"{"pending":["draining"],"ready":false}"#);
    // Load balancers have not noticed yet.
    let during = call();
    until("the second call arrives", async || service.came() == 2).await;
    let door = home.url().replace("https://", "");
    until("nobody is accepted", async || TcpStream::connect(&door).await.is_err()).await;
    // Probes learn of it to the end.
    assert_eq!(running.health("/readyz").await.unwrap().0, 503);
    assert_eq!(running.health("/livez").await.unwrap().0, 200);
    service.gate.add_permits(1_000);
    assert_eq!(before.await.unwrap().unwrap(), 200);
    assert_eq!(during.await.unwrap().unwrap(), 200);
    let (status, log, complaint) = running.end();
    assert_eq!((status.code(), complaint.as_str()), (Some(0), ""));
    let stopped = log.iter().find(|line| line["message"] == "stopped").unwrap();
    assert_eq!(stopped["drained"], "Complete");
}

#[tokio::test]
async fn the_command_for_containers_drains_as_a_signal_does() {
    let (home, service) = (Arc::new(Home::new()), Gated::start().await);
    let running = home.serve(&patient(&home, &service, "0s"));
    let accepted = {
        let home = Arc::clone(&home);
        let client = home.http().build().unwrap();
        tokio::spawn(async move { home.call(&client).await.map(|answer| answer.status().as_u16()) })
    };
    until("the call arrives", async || service.came() == 1).await;
    assert_eq!(run(&["drain", "--pid", &running.pid()]), (0, String::new(), String::new()));
    let door = home.url().replace("https://", "");
    until("nobody is accepted", async || TcpStream::connect(&door).await.is_err()).await;
    service.gate.add_permits(1);
    assert_eq!(accepted.await.unwrap().unwrap(), 200);
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn whom_to_drain_has_to_be_said_and_be_there() {
    // On a machine whose first process is not hookgate nothing may be guessed.
    let (code, _, told) = run(&["drain"]);
    assert_eq!(code, 64);
    assert!(told.contains("--pid"), "{told}");
    // Above what Linux gives out.
    let (code, _, told) = run(&["drain", "--pid", "4194305"]);
    assert_eq!(code, 70);
    assert!(
        told.starts_with("hookgate: process 4194305 cannot be told to finish: No such process"),
        "{told}"
    );
}

/// Calls one after the other until nobody accepts. Gives how many were answered.
async fn call_until_refused(home: Arc<Home>, client: reqwest::Client) -> Result<usize, String> {
    let mut answered = 0;
    loop {
        match home.call(&client).await {
            Ok(answer) if answer.status() == 200 => {
                let cards = answer.text().await.map_err(|e| format!("an answer broke: {e:?}"))?;
                assert!(cards.contains("/open/"), "{cards}");
                answered += 1;
            }
            Ok(answer) => return Err(format!("{}", answer.status())),
            // No connection was to be had: nothing was accepted. Nor was what a busy client writes behind a
            // GOAWAY that it has not read; had it been, the service and the log would know.
            Err(error) if error.is_connect() || is_behind_the_end(&error) => return Ok(answered),
            Err(error) => return Err(format!("lost: {error:?}")),
        }
    }
}

/// Whether it was a stream on a connection that its other side had closed.
fn is_behind_the_end(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe) {
            return cause.to_string().starts_with("stream closed");
        }
        next = cause.source();
    }
    false
}

const CLIENTS: usize = 50;

async fn drain_under_load(clients: Vec<reqwest::Client>, home: Arc<Home>) {
    let service = Gated::start().await;
    let running = home.serve(&patient(&home, &service, "0s"));
    let mut calling = JoinSet::new();
    for client in clients {
        calling.spawn(call_until_refused(Arc::clone(&home), client));
    }
    until("everybody calls", async || service.came() >= CLIENTS).await;
    // A slow service under way, with somebody always waiting.
    let gate = Arc::clone(&service.gate);
    let opener = tokio::spawn(async move {
        loop {
            gate.add_permits(5);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    until("everybody calls again", async || service.came() >= 2 * CLIENTS).await;
    running.signal("TERM");
    let (mut answered, mut lost) = (0, Vec::new());
    while let Some(ended) = calling.join_next().await {
        match ended.unwrap() {
            Ok(count) => answered += count,
            Err(why) => lost.push(why),
        }
    }
    opener.abort();
    let (status, log, _) = running.end();
    assert!(lost.is_empty(), "{lost:#?}");
    assert_eq!(
        answered,
        service.came(),
        "somebody's call went to the service and its answer nowhere"
    );
    let logged = log.iter().filter(|line| line["way"] == "hook").count();
    assert_eq!(logged, answered);
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_connections_lose_nothing_when_it_ends() {
    let home = Arc::new(Home::new());
    let client = || home.http().http1_only().pool_max_idle_per_host(1).build().unwrap();
    drain_under_load((0..CLIENTS).map(|_| client()).collect(), Arc::clone(&home)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_streams_on_few_connections_lose_nothing_when_it_ends() {
    let home = Arc::new(Home::new());
    let connections: Vec<_> = (0..5).map(|_| home.http().build().unwrap()).collect();
    let clients = connections.iter().cycle().take(CLIENTS).cloned().collect();
    drain_under_load(clients, Arc::clone(&home)).await;
}
