//! hookgate, as a program.

fn main() -> std::process::ExitCode {
    hookgate::cli::main()
}
