# One image definition. Targets: planner, writer (the services), ops (the operators' command line),
# simulator (a Dataverse for a laptop), calls (a call system for a laptop). Each carries the libraries of its own lock file and no others:
#
#   docker build --target planner --tag dataverse-writeback-planner:0.1.0 .
#
# Nothing in it needs root, a shell or a writable file system but WORKDIR and /tmp.

ARG PYTHON_IMAGE=python:3.13-slim-trixie

# --- build: a virtual environment per target, at the path it will be run from
#
# It holds exactly what the lock file names, whatever newer versions a registry offers: no dependency is resolved, and
# what builds a source archive (on ARM) is locked too.

FROM ${PYTHON_IMAGE} AS build
ENV PATH=/opt/writeback/bin:$PATH \
    PIP_BUILD_CONSTRAINT=/source/requirements/build.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN ["python", "-m", "venv", "/opt/writeback"]
WORKDIR /source
COPY requirements/pip.txt requirements/build.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/pip.txt"]

FROM build AS build-planner
COPY requirements/planner.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/planner.txt"]
COPY . .
RUN ["pip", "install", "--no-deps", "--no-build-isolation", "."]
RUN ["pip", "check"]

FROM build AS build-writer
COPY requirements/writer.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/writer.txt"]
COPY . .
RUN ["pip", "install", "--no-deps", "--no-build-isolation", "."]
RUN ["pip", "check"]

FROM build AS build-ops
COPY requirements/ops.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/ops.txt"]
COPY . .
RUN ["pip", "install", "--no-deps", "--no-build-isolation", "."]
RUN ["pip", "check"]

FROM build AS build-simulator
COPY requirements/simulator.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/simulator.txt"]
COPY . .
RUN ["pip", "install", "--no-deps", "--no-build-isolation", "."]
RUN ["pip", "check"]

# The call system has no lock file of its own: it never leaves the laptop, and the demo's holds all it needs.
FROM build AS build-calls
COPY requirements/demo.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/demo.txt"]
COPY . .
RUN ["pip", "install", "--no-deps", "--no-build-isolation", "."]
RUN ["pip", "check"]

# --- run: what all targets have in common

FROM ${PYTHON_IMAGE} AS service
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dataverse-writeback" \
      org.opencontainers.image.description="Writes call outcomes from Kafka back to Microsoft Dataverse: once, in order, nothing lost." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# PYTHONSAFEPATH: WORKDIR is the one folder the service may write to, so nothing may be imported from it.
ENV PATH=/opt/writeback/bin:$PATH \
    HOME=/var/lib/writeback \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
RUN ["install", "--directory", "--owner=10001", "--group=10001", "/var/lib/writeback"]
WORKDIR /var/lib/writeback
# By number: Kubernetes cannot tell that a name is not root.
USER 10001:10001
STOPSIGNAL SIGTERM

FROM service AS planner
COPY --from=build-planner /opt/writeback /opt/writeback
EXPOSE 9101
ENTRYPOINT ["python", "-m", "planner"]

FROM service AS writer
COPY --from=build-writer /opt/writeback /opt/writeback
EXPOSE 9102
ENTRYPOINT ["python", "-m", "writer"]

FROM service AS ops
COPY --from=build-ops /opt/writeback /opt/writeback
ENTRYPOINT ["writeback"]

FROM service AS simulator
COPY --from=build-simulator /opt/writeback /opt/writeback
EXPOSE 8080
ENTRYPOINT ["python", "-m", "simulator"]

FROM service AS calls
COPY --from=build-calls /opt/writeback /opt/writeback
ENTRYPOINT ["python", "-m", "simulator"]
