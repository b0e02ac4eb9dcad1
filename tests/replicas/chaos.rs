//! Trouble, of every kind, in an order that the seed decides.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::fleet::{Fleet, Trouble};
use crate::gateway::hookgate;
use crate::site::LIFETIME;
use crate::world::{CLOCK_OFF, World};

/// How long the next keys are there before they are used. Gateways read the file every few seconds.
const PROPAGATION: &str = "8s";
/// There may be 15 sealing keys, and each is needed for as long as what it sealed lives.
const BETWEEN_ROTATIONS: Duration = Duration::from_secs(60);

/// Breaks things, and repairs them.
pub(crate) struct Chaos {
    fleet: Fleet,
    dice: Dice,
    /// By how many seconds the last gateway's clock is off.
    off: i64,
    rotation: Rotation,
}

/// How far the current rotation of keys has come.
enum Rotation {
    Due,
    /// There are next keys.
    Prepared,
    Done(Instant),
}

impl Chaos {
    pub(crate) fn new(fleet: Fleet, dice: Dice) -> Self {
        Self { fleet, dice, off: 0, rotation: Rotation::Due }
    }

    /// Goes on until it is `calm`, then gives back a fleet in which everything works.
    pub(crate) fn rage(mut self, world: &World, calm: &CancellationToken) -> Fleet {
        let mut kinds = self.fleet.troubles();
        while !calm.is_cancelled() {
            self.dice.shuffle(&mut kinds);
            for kind in &kinds {
                thread::sleep(self.dice.millis(200, 2500));
                if calm.is_cancelled() {
                    break;
                }
                world.ledger.add(kind.row(), usize::from(self.make(*kind)));
            }
        }
        if self.fleet.store.is_some() {
            self.step_clock(0);
        }
        self.fleet
    }

    /// Makes one kind of trouble, from its beginning to its end, and says whether there was any.
    fn make(&mut self, kind: Trouble) -> bool {
        let which = self.dice.below(self.fleet.gateways.len());
        match kind {
            Trouble::Kill => {
                self.fleet.gateways[which].kill();
                thread::sleep(self.dice.millis(0, 1500));
                self.fleet.gateways[which].start();
            }
            Trouble::Terminate => {
                self.fleet.gateways[which].terminate();
                thread::sleep(self.dice.millis(0, 500));
                self.fleet.gateways[which].start();
            }
            Trouble::PauseStore => self.pause_store(which),
            Trouble::KillStore => self.kill_store(which),
            Trouble::RotateKeys => return self.rotate(),
            Trouble::StepClock => self.set_clock(),
        }
        true
    }

    /// Now and then a gateway is killed while its store does not answer.
    fn pause_store(&mut self, which: usize) {
        self.fleet.store.as_ref().unwrap().pause();
        thread::sleep(self.dice.millis(50, 3000));
        let killed = self.dice.once_in(3);
        if killed {
            self.fleet.gateways[which].kill();
        }
        thread::sleep(self.dice.millis(0, 1000));
        self.fleet.store.as_ref().unwrap().resume();
        if killed {
            self.fleet.gateways[which].start();
        }
    }

    /// Now and then a gateway starts while there is no store.
    fn kill_store(&mut self, which: usize) {
        self.fleet.store.as_mut().unwrap().kill();
        thread::sleep(self.dice.millis(0, 2000));
        if self.dice.once_in(3) {
            self.fleet.gateways[which].kill();
            self.fleet.gateways[which].start();
        }
        self.fleet.store.as_mut().unwrap().restart();
    }

    fn set_clock(&mut self) {
        let most = i64::try_from(CLOCK_OFF).unwrap();
        let anywhere = self.dice.around_zero(most);
        // A gateway with a disk has one clock for everything, which only ever runs ahead. Others ask a
        // store with a clock of its own.
        let ahead = (self.off + anywhere.abs() / 4 + 1).min(most);
        self.step_clock(if self.fleet.store.is_some() { anywhere } else { ahead });
    }

    fn step_clock(&mut self, off: i64) {
        self.off = off;
        self.fleet.gateways.last().unwrap().set_clock(off);
    }

    /// Takes the next step of a rotation as operators take them; whether keys changed places by it.
    fn rotate(&mut self) -> bool {
        match self.rotation {
            Rotation::Done(last) if last.elapsed() < BETWEEN_ROTATIONS => false,
            Rotation::Done(_) | Rotation::Due => {
                // There is nothing to drop yet, or there is.
                let _ = self.keys(&["retire"]);
                assert!(
                    self.keys(&["new", "--longest-life", LIFETIME, "--shorter"]),
                    "no next keys"
                );
                self.rotation = Rotation::Prepared;
                false
            }
            Rotation::Prepared => {
                let rotated = self.keys(&["rotate", "--after", PROPAGATION]);
                if rotated {
                    self.rotation = Rotation::Done(Instant::now());
                }
                rotated
            }
        }
    }

    /// Runs `hookgate keys` on the file that all gateways read.
    fn keys(&self, words: &[&str]) -> bool {
        let file = self.fleet.site.keys().display().to_string();
        let mut command = hookgate(&["keys"]);
        command.args(words).args(["--file", &file]).output().unwrap().status.success()
    }
}
