# One image for api, worker and migrate: `docker run … hookkeeper api`. Settings come from the environment.
# It runs with a read-only file system, as any user, and without a home: `docker run --read-only --cap-drop ALL …`.

FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# No group or user of the host has this number, and no file of the image belongs to it. No program makes anybody root.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hookkeeper \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

WORKDIR /app

# The packages change seldom, the code often: two layers. Hashes hold the image to what was tested.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

# Byte code is written here, since the user that runs it may not.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable . && python -m compileall -q .

# By number: Kubernetes' runAsNonRoot cannot tell what a name stands for.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["hookkeeper"]
CMD ["--help"]
