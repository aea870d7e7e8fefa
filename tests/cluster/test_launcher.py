"""Ray's own cluster launcher takes our file, against moto in EC2's place, and opens nothing that we did not name."""

import boto3
import pytest
import yaml
from flavour_jobs import GPUS, job
from moto import mock_aws

from cluster.flavours import flavour


@pytest.mark.ray
def test_rays_launcher_takes_the_file(tmp_path, monkeypatch):
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.util import prepare_config, validate_config

    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "token").mkdir()
    with mock_aws():
        ec2 = boto3.client("ec2", region_name="us-east-1")
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="ours", Description="ours", VpcId=network)["GroupId"]
        place = GPUS.vms.model_copy(update={"security_groups": (group,)})
        fleet = GPUS.model_copy(update={"vms": place})
        config = prepare_config(
            yaml.safe_load(flavour("vms").render(job("vms", fleet=fleet)).files["cluster.yaml"])
        )
        validate_config(config)
        made = bootstrap_aws(config)
        groups = {found["GroupName"] for found in ec2.describe_security_groups()["SecurityGroups"]}
        roles = boto3.client("iam").list_roles()["Roles"]
    kinds = {name: kind["node_config"] for name, kind in made["available_node_types"].items()}
    assert {name: kind["SecurityGroupIds"] for name, kind in kinds.items()} == {
        "head": [group],
        "worker": [group],
    }
    assert {name: kind["IamInstanceProfile"]["Name"] for name, kind in kinds.items()} == {
        "head": "raytrain-head",
        "worker": "raytrain",
    }
    assert groups == {"default", "ours"}, "Ray made no group, whose port 22 would be open to the world"
    assert roles == [], "nor a role that may do everything"
