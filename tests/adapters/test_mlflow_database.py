"""MLflow's rows from SQLite in PostgreSQL: what the two keep in different ways comes out the same."""

import sqlalchemy as sa

from tests.adapters.test_mlflow_runs import open_at
from trueup.adapters.mlflow.database import mlflow_loaded_into
from trueup.adapters.mlflow.runs import Tracking
from trueup.adapters.sql.engines import connect

JOB = {"id": "1", "creation_time": 2**40, "job_name": "x" * 500, "params": "{}", "workspace": "default"}
JOB |= {"status": 1, "retry_count": 0, "last_update_time": 1}
JSON = {"progress": {"done": [1, None, "é"]}, "status_details": None}


def test_values_that_sqlite_keeps_otherwise(new_database, tmp_path):
    tracking = open_at(tmp_path)
    run = tracking.start("flights", "a run")
    metrics = {"none": float("nan"), "much": float("inf"), "some": 0.1}
    tracking.log(run, metrics=metrics)
    source, target = connect(tracking.uri), connect(new_database())
    jobs = sa.Table("jobs", sa.MetaData(), autoload_with=source)
    with source.begin() as connection:
        connection.execute(sa.insert(jobs), [{**JOB, **JSON, "status_details": sa.null()}])
    with mlflow_loaded_into(target, source):
        pass
    with target.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM jobs WHERE status_details IS NULL")).mappings().one()
        flags = connection.execute(sa.text("SELECT key FROM latest_metrics WHERE is_nan")).scalars().all()
    assert {name: row[name] for name in (*JOB, *JSON)} == JOB | JSON
    assert flags == ["none"]
    url = target.url.render_as_string(hide_password=False)
    assert str(Tracking(url, tmp_path).client.get_run(run).data.metrics) == str(
        tracking.client.get_run(run).data.metrics
    )
    source.dispose()
    target.dispose()
