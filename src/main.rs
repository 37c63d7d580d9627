//! The program: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    meshbox::cli::main(std::env::args_os())
}
