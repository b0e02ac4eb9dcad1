//! Sockets and word from and to whoever started the program, as systemd does it.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use hookgate::demo::server::Server;

use crate::home::{Home, Running, cards, hookgate};
use crate::port::free_port;

/// Starts the program with `sockets`, as sd_listen_fds(3) describes it: the descriptors from 3 on, and their names.
const HAND_OVER: &str = "
import os, socket, sys
names, command = sys.argv[1], sys.argv[3:]
sockets = []
for address in sys.argv[2].split(','):
    host, port = address.rsplit(':', 1)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    one = socket.socket(family)
    one.bind((host, int(port)))
    one.listen(128)
    sockets.append(one)
# Out of the way first, so that none is closed by another's coming.
moved = [os.dup(one.fileno()) for one in sockets]
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(moved)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n)
    os.set_inheritable(3 + n, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
";

fn with_sockets(names: &str, addresses: &str, config: &str) -> Command {
    let program = hookgate(&["serve", "--config", config]);
    let mut python = Command::new("python3");
    python.args(["-c", HAND_OVER, names, addresses]).arg(program.get_program());
    python.args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => python.env(name, value),
            None => python.env_remove(name),
        };
    }
    python
}

fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[tokio::test]
async fn sockets_that_are_handed_over_are_taken() {
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let (public, health) = (home.url().replace("https://localhost", "127.0.0.1"), free_address());
    // What the configuration says is not to be had: it is not asked for.
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let config = home.config(&server.url());
    let config = config.replace(&public, &taken.local_addr().unwrap().to_string());
    let file = home.write("hookgate.toml", &config);
    let addresses = format!("{health},{public}");
    let command = with_sockets("health:hookgate.socket", &addresses, file.to_str().unwrap());
    let running = Running::spawn(command);
    let serving = running.await_line(|line| line["message"] == "serving");
    assert_eq!(serving["public"], public);
    assert_eq!(serving["health"], health);
    assert_eq!(home.call(&home.http().build().unwrap()).await.unwrap().status(), 200);
    assert_eq!(running.health("/readyz").await.unwrap().0, 200);
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn one_too_many_is_told() {
    let home = Home::new();
    let file = home.write("hookgate.toml", &home.config("http://127.0.0.1:8080"));
    let addresses = format!("{},{}", free_address(), free_address());
    let (status, _, complaint) =
        Running::spawn(with_sockets("a:b", &addresses, file.to_str().unwrap())).end();
    assert_eq!(status.code(), Some(70));
    assert!(complaint.contains("\"b\" is one too many"), "{complaint}");
}

#[tokio::test]
async fn the_service_manager_is_told_how_it_stands() {
    let home = Home::new();
    let file = home.write("hookgate.toml", &home.config("http://127.0.0.1:8080"));
    let socket = home.path("notify");
    let hears = UnixDatagram::bind(&socket).unwrap();
    hears.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let hear = || {
        let mut said = [0; 256];
        let length = hears.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).trim().to_owned()
    };
    let mut command = hookgate(&["serve", "--config", file.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &socket);
    let running = Running::spawn(command);
    assert_eq!(hear(), "READY=1");
    running.signal("HUP");
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(hear(), "READY=1");
    running.signal("TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(running.end().0.code(), Some(0));
}
