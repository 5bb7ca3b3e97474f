# One image per service, each with its own extra only. Build one: docker build --target trainer .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS source
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY libs libs
COPY services services
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --upgrade 'pip>=25.1'

FROM source AS install-coordinator
RUN /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[coordinator]'

FROM source AS install-trainer
RUN /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[trainer]'

FROM source AS install-backtester
RUN /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[backtester]'

FROM source AS install-cli
RUN /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[report,sample]'

# What all images share: the data volume, and an account without rights.
FROM python:${PYTHON}-slim AS runtime
RUN useradd --uid 10001 --create-home holdfast && install -d -o holdfast -g holdfast /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOLDFAST_DATA_DIR=/data
USER holdfast
WORKDIR /home/holdfast
VOLUME /data

FROM runtime AS coordinator
COPY --from=install-coordinator /venv /venv
ENV HOLDFAST_LISTEN=0.0.0.0:7400
EXPOSE 7400
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s CMD ["holdfast", "status", "--json"]
CMD ["python", "-m", "holdfast.services.coordinator"]

FROM runtime AS trainer
COPY --from=install-trainer /venv /venv
ENV HOLDFAST_LISTEN=0.0.0.0:7401
CMD ["python", "-m", "holdfast.services.trainer"]

FROM runtime AS backtester
COPY --from=install-backtester /venv /venv
ENV HOLDFAST_LISTEN=0.0.0.0:7402
CMD ["python", "-m", "holdfast.services.backtester"]

FROM runtime AS cli
COPY --from=install-cli /venv /venv
ENTRYPOINT ["holdfast"]
CMD ["--help"]
