# One image for api, worker and migrate: `docker run … hookkeeper api`. Settings come from the environment.
# It runs with a read-only file system, as any user, and without a home directory: `docker run --read-only --cap-drop ALL …`.

# `make release` writes values here: the base image with its digest, and what the labels at the end say.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# No user or group of the host has this number, and it owns no file of the image. No program has the setuid bit.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hookkeeper \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

WORKDIR /app

# Packages change rarely, code often, so they are separate layers. Hashes ensure that the tested packages are installed.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

# Byte code is compiled here, because the user that runs it cannot write.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable . && python -m compileall -q .

# Last, because each release changes them.
ARG VERSION=unreleased
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title=hookkeeper \
      org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.created=${CREATED} \
      org.opencontainers.image.source=${SOURCE}

# By number, because Kubernetes' runAsNonRoot cannot resolve names.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["hookkeeper"]
CMD ["--help"]
