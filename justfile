# Short names for what is done often; `just` lists them.

_default:
    @just --list

# Every test, or those with a name
test *filter:
    ./test {{filter}}

# All that CI does
ci:
    .ci/run

# Format, lint and test the library: what to run before a commit
check:
    cargo fmt
    cargo clippy --locked --all-targets -- -D warnings
    cargo test --locked --lib

# A gate to try
demo:
    cargo run --release -- demo

# The container image
image tag="localhost/portcullis:0.1.0":
    deploy/build-image {{tag}}

# Release speed without the long link
fast:
    cargo build --profile fast
