# docker build -t tollgate .      docs/operations.md#container has the rest.

FROM rust:1-bookworm AS build
WORKDIR /tollgate
# Of what scripts/setup.sh looks for, this is missing in the image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates cmake \
    && rm -rf /var/lib/apt/lists/*
COPY . .
ARG PROFILE=release
RUN make dist PROFILE="$PROFILE" \
    && mkdir -p /image/usr/bin /image/etc/ssl/certs /image/etc/tollgate /image/run/tollgate \
    && tar -xzf target/dist/tollgate-*.tar.gz -C /image/usr/bin --strip-components=1 --wildcards 'tollgate-*/tollgate' \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'tollgate:x:65532:65532:Tollgate:/nonexistent:/sbin/nologin' >/image/etc/passwd \
    && echo 'tollgate:x:65532:' >/image/etc/group \
    && chown 65532:65532 /image/run/tollgate \
    && chmod 700 /image/run/tollgate

# Linked statically, the program needs no distribution around it.
FROM scratch
COPY --from=build /image/ /
# Where the PID file and the upgrade socket are made.
ENV RUNTIME_DIRECTORY=/run/tollgate
USER 65532:65532
EXPOSE 8888
ENTRYPOINT ["/usr/bin/tollgate"]
CMD ["-c", "/etc/tollgate/pingora.yaml"]
