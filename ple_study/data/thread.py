"""What every study of the thread's tasks has in common: which task feeds which."""

from ple_study.schema import Transfer

TRANSFERS = tuple(
    Transfer(source=source, target=target)
    for source, target in (
        ("ctr", "cvr"),
        ("churn", "retention"),
        ("cvr", "ltv"),
        ("nba", "spending_category"),
        ("spending_category", "brand_prediction"),
    )
)
