# The program alone, for every role: `docker run IMAGE server …`, `core …`, `monitor …`, or any verb.
#
#   /var/lib/towpath  what a Server keeps: mount a volume
#   /etc/towpath      certificates, pipeline files, hooks: mount them read-only
#
# Runs as user 10001. `towpath-ready PORT` asks the role's port for health checks.

FROM rust:1.95-bookworm AS build
WORKDIR /towpath
COPY . .
# Backtraces name functions; line tables would make the program a third larger.
ENV CARGO_PROFILE_RELEASE_DEBUG=none
RUN cargo build --release --locked --package towpath

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/towpath --shell /usr/sbin/nologin towpath \
 && install -d -o towpath -g towpath -m 0750 /var/lib/towpath \
 && install -d /etc/towpath
COPY --from=build /towpath/target/release/towpath /usr/local/bin/towpath
COPY docker/towpath-ready /usr/local/bin/towpath-ready
USER 10001:10001
# Who asked, in the history of what operators do.
ENV USER=towpath
WORKDIR /var/lib/towpath
STOPSIGNAL SIGTERM
ENTRYPOINT ["towpath"]
CMD ["--help"]
