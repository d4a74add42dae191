# One image definition. Targets: planner, writer (the services), ops (the operators' command line, whole),
# simulator (a Dataverse for a laptop), calls (a call system for a laptop). Each carries the libraries of its own lock file and
# the packages of ours that it runs, and no others; no pip, no compiler, no package manager:
#
#   docker build --target planner --tag dataverse-writeback-planner:0.1.0 .
#
# Nothing in it needs root, a shell or a writable file system but WORKDIR and /tmp.

# The digest is of the list of platforms. docs/releasing.md says how to take a newer one.
ARG PYTHON_IMAGE=python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

# --- build: a virtual environment per target, at the path it will be run from
#
# It holds exactly what the lock file names, whatever newer versions a registry offers: no dependency is resolved, and
# what builds a source archive (on ARM) is locked too. pip and what builds our wheel stay in the stage's own Python. Our
# own code comes last, so a change to it installs no library again.

FROM ${PYTHON_IMAGE} AS build
ENV PIP_BUILD_CONSTRAINT=/source/requirements/build.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements/pip.txt requirements/project.txt requirements/build.txt requirements/
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/pip.txt"]
RUN ["pip", "install", "--no-deps", "--require-hashes", "-r", "requirements/project.txt"]
RUN ["python", "-m", "venv", "--without-pip", "/opt/writeback"]

# What every target has of our own.
FROM scratch AS shared
COPY pyproject.toml README.md LICENSE .ci/image/install.py ./
COPY schemas schemas
COPY runtime runtime

FROM build AS build-planner
COPY requirements/planner.txt requirements/
RUN ["pip", "--python", "/opt/writeback", "install", "--no-deps", "--require-hashes", "-r", "requirements/planner.txt"]
COPY --from=shared / ./
COPY planner planner
RUN ["python", "-I", "install.py", "/opt/writeback"]

FROM build AS build-writer
COPY requirements/writer.txt requirements/
RUN ["pip", "--python", "/opt/writeback", "install", "--no-deps", "--require-hashes", "-r", "requirements/writer.txt"]
COPY --from=shared / ./
COPY writer writer
RUN ["python", "-I", "install.py", "/opt/writeback"]

FROM build AS build-ops
COPY requirements/ops.txt requirements/
RUN ["pip", "--python", "/opt/writeback", "install", "--no-deps", "--require-hashes", "-r", "requirements/ops.txt"]
COPY --from=shared / ./
COPY planner planner
COPY writer writer
COPY ops ops
COPY simulator simulator
RUN ["python", "-I", "install.py", "/opt/writeback"]

FROM build AS build-simulator
COPY requirements/simulator.txt requirements/
RUN ["pip", "--python", "/opt/writeback", "install", "--no-deps", "--require-hashes", "-r", "requirements/simulator.txt"]
COPY --from=shared / ./
COPY simulator simulator
RUN ["python", "-I", "install.py", "/opt/writeback"]

FROM build AS build-calls
COPY requirements/calls.txt requirements/
RUN ["pip", "--python", "/opt/writeback", "install", "--no-deps", "--require-hashes", "-r", "requirements/calls.txt"]
COPY --from=shared / ./
COPY simulator simulator
RUN ["python", "-I", "install.py", "/opt/writeback"]

# --- run: what all targets have in common

FROM ${PYTHON_IMAGE} AS stripped
COPY .ci/image/strip.py /strip/
RUN ["python", "-I", "/strip/strip.py", "/"]
RUN ["rm", "-r", "/strip"]

# From nothing, so that no layer below holds what was taken out.
FROM scratch AS service
COPY --from=stripped / /
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dataverse-writeback" \
      org.opencontainers.image.description="Writes call outcomes from Kafka back to Microsoft Dataverse: once, in order, nothing lost." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# PYTHONSAFEPATH: WORKDIR is the one folder the service may write to, so nothing may be imported from it.
ENV PATH=/opt/writeback/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    HOME=/var/lib/writeback \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
RUN ["install", "--directory", "--mode=1777", "/tmp"]
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
