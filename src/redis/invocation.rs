//! One script with its keys and arguments, on one connection.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisResult, Script, ServerErrorKind, Value};

/// A script, ready to be sent.
pub(super) struct Invocation<'a> {
    script: &'a Script,
    command: Cmd,
}

impl<'a> Invocation<'a> {
    /// `script` with these.
    pub(super) fn new(script: &'a Script, keys: &[&[u8]], args: &[&[u8]]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len());
        for part in keys.iter().chain(args) {
            command.arg(*part);
        }
        Self { script, command }
    }

    /// Runs it. A server that does not know the script has not run it: it is told the script and asked
    /// again.
    pub(super) async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        asking: bool,
    ) -> RedisResult<Value> {
        match self.send(connection, asking).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                self.send(connection, asking).await
            }
            done => done,
        }
    }

    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        asking: bool,
    ) -> RedisResult<Value> {
        if !asking {
            return self.command.query_async(connection).await;
        }
        // A node that is taking a slot over serves it only to whoever says so in the command before.
        let mut both = Pipeline::with_capacity(2);
        both.cmd("ASKING").add_command(self.command.clone());
        let answers = connection.send_packed_commands(&both, 0, 2).await?;
        answers.into_iter().next_back().unwrap_or(Value::Nil).extract_error()
    }
}
