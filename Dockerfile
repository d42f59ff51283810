# syntax=docker/dockerfile:1
# Targets: the connector (default); "sim", the simulator, and "e2e-probe", for tests.
#
#   docker build --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) -t pushover-connector .
#
# For several platforms: docker buildx build --platform linux/amd64,linux/arm64 ...
# The compiler runs on the building machine's platform and compiles across.
# deploy/image/build does the same with buildah and without any registry.
ARG GO_VERSION=1.26
FROM --platform=$BUILDPLATFORM docker.io/library/golang:${GO_VERSION} AS build
WORKDIR /src
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
ARG REVISION
# Where modules come from; the cache mounts keep them and what was compiled.
ARG GOPROXY
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.revision=${REVISION}" -o /out/ ./cmd/pushover-connector ./cmd/pushover-sim
# What scratch lacks: authorities, time zones, the user's name, a directory of its own.
RUN mkdir -p /root-fs/etc/ssl/certs /root-fs/usr/share /data && \
    cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ && \
    cp "$(go env GOROOT)/lib/time/zoneinfo.zip" /root-fs/usr/share/ && \
    echo 'nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin' >/root-fs/etc/passwd && \
    echo 'nonroot:x:65532:' >/root-fs/etc/group

FROM build AS build-e2e
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -buildvcs=false -trimpath -ldflags "-s -w" -o /out/ ./deploy/e2e/probe

FROM scratch AS base
COPY --from=build /root-fs/ /
ENV ZONEINFO=/usr/share/zoneinfo.zip
USER 65532:65532
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="https://github.com/pushover-connector/pushover-connector" \
      org.opencontainers.image.documentation="https://github.com/pushover-connector/pushover-connector#readme" \
      org.opencontainers.image.vendor="pushover-connector" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM base AS sim
COPY --from=build /out/pushover-sim /pushover-sim
LABEL org.opencontainers.image.title="pushover-sim" \
      org.opencontainers.image.description="A Pushover service for tests"
EXPOSE 8800
ENTRYPOINT ["/pushover-sim"]
CMD ["-listen", ":8800", "-tls-listen", ""]

# What the end-to-end test asks the bus with.
FROM base AS e2e-probe
COPY --from=build-e2e /out/probe /probe
LABEL org.opencontainers.image.title="pushover-connector-e2e-probe" \
      org.opencontainers.image.description="Counts the events on a bus, for the end-to-end test"
ENTRYPOINT ["/probe"]

FROM base AS connector
COPY --from=build --chown=65532:65532 /data /data
COPY --from=build /out/pushover-connector /pushover-connector
LABEL org.opencontainers.image.title="pushover-connector" \
      org.opencontainers.image.description="Carries Pushover notifications to NATS JetStream or Apache Kafka"
ENV HTTP_ADDR=:8080 \
    DATA_DIR=/data \
    PUSHOVER_CREDENTIALS_FILE=/data/credentials.json
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/pushover-connector", "healthcheck"]
ENTRYPOINT ["/pushover-connector"]
CMD ["run"]
